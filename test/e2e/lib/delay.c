/*-------------------------------------------------------------------------
 *
 * delay.c
 *	  A wire that takes its time: hands on TCP connections unchanged, each
 *	  direction later by a settable time, with no limit to what is under way.
 *
 *		delay PORT TARGET_PORT
 *
 * listens on 127.0.0.1:PORT.  A line "MILLISECONDS" on standard input sets the
 * delay of each direction from then on; the answer is the same line.  The end
 * of the input ends the program.
 *
 * A direction has two threads, one that reads and notes the time and one that
 * writes when it has come, so that bytes are neither merged nor held up by what
 * follows them.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES	(256 * 1024)

typedef struct Chunk
{
	struct Chunk *next;
	long long	due_ns;
	ssize_t		size;			/* 0: the end */
	char		bytes[];
} Chunk;

typedef struct Direction
{
	int			from;
	int			to;
	pthread_mutex_t lock;
	pthread_cond_t added;
	Chunk	   *first;
	Chunk	  **last;
	struct Connection *connection;
} Direction;

typedef struct Connection
{
	Direction	there;
	Direction	back;
	atomic_int	users;
} Connection;

static atomic_llong delay_ns = 0;
static struct sockaddr_in target;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static long long
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void
sleep_until(long long due_ns)
{
	struct timespec ts = {due_ns / 1000000000LL, due_ns % 1000000000LL};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* The last thread of a connection closes it. */
static void
leave(Connection *connection)
{
	if (atomic_fetch_sub(&connection->users, 1) != 1)
		return;
	close(connection->there.from);
	close(connection->there.to);
	free(connection);
}

static void
append(Direction *direction, Chunk *chunk)
{
	chunk->next = NULL;
	pthread_mutex_lock(&direction->lock);
	*direction->last = chunk;
	direction->last = &chunk->next;
	pthread_cond_signal(&direction->added);
	pthread_mutex_unlock(&direction->lock);
}

static Chunk *
take_first(Direction *direction)
{
	Chunk	   *chunk;

	pthread_mutex_lock(&direction->lock);
	while (direction->first == NULL)
		pthread_cond_wait(&direction->added, &direction->lock);
	chunk = direction->first;
	direction->first = chunk->next;
	if (direction->first == NULL)
		direction->last = &direction->first;
	pthread_mutex_unlock(&direction->lock);
	return chunk;
}

static void *
read_main(void *arg)
{
	Direction  *direction = arg;
	char	   *buffer = malloc(CHUNK_BYTES);
	ssize_t		size;

	do
	{
		Chunk	   *chunk;

		size = recv(direction->from, buffer, CHUNK_BYTES, 0);
		if (size < 0)
			size = 0;
		chunk = malloc(sizeof(Chunk) + size);
		chunk->due_ns = now_ns() + atomic_load(&delay_ns);
		chunk->size = size;
		memcpy(chunk->bytes, buffer, size);
		append(direction, chunk);
	} while (size > 0);
	free(buffer);
	leave(direction->connection);
	return NULL;
}

static int
write_all(int fd, const char *bytes, ssize_t size)
{
	while (size > 0)
	{
		ssize_t		sent = send(fd, bytes, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return 0;
		bytes += sent;
		size -= sent;
	}
	return 1;
}

static void *
write_main(void *arg)
{
	Direction  *direction = arg;
	int			open = 1;
	ssize_t		size;

	prctl(PR_SET_TIMERSLACK, 1);
	do
	{
		Chunk	   *chunk = take_first(direction);

		size = chunk->size;
		if (chunk->due_ns > now_ns())
			sleep_until(chunk->due_ns);
		if (open && !write_all(direction->to, chunk->bytes, size))
		{
			open = 0;
			shutdown(direction->from, SHUT_RD);
		}
		free(chunk);
	} while (size > 0);
	shutdown(direction->to, SHUT_WR);
	leave(direction->connection);
	return NULL;
}

static void
start_thread(void *(*run) (void *), Direction *direction)
{
	pthread_t	thread;

	if (pthread_create(&thread, NULL, run, direction) != 0)
		die("pthread_create");
	pthread_detach(thread);
}

static void
start_direction(Direction *direction, Connection *connection, int from, int to)
{
	direction->from = from;
	direction->to = to;
	direction->last = &direction->first;
	direction->connection = connection;
	pthread_mutex_init(&direction->lock, NULL);
	pthread_cond_init(&direction->added, NULL);
	start_thread(read_main, direction);
	start_thread(write_main, direction);
}

static void
start_connection(int client)
{
	int			server = socket(AF_INET, SOCK_STREAM, 0);
	int			on = 1;
	Connection *connection;

	if (connect(server, (struct sockaddr *) &target, sizeof(target)) != 0)
	{
		close(server);
		close(client);
		return;
	}
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	connection = calloc(1, sizeof(Connection));
	atomic_store(&connection->users, 4);
	start_direction(&connection->there, connection, client, server);
	start_direction(&connection->back, connection, server, client);
}

static void *
accept_main(void *arg)
{
	int			listener = *(int *) arg;

	for (;;)
	{
		int			client = accept(listener, NULL, NULL);

		if (client >= 0)
			start_connection(client);
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	pthread_t	thread;
	char		line[64];
	int			on = 1;
	int			listener = socket(AF_INET, SOCK_STREAM, 0);

	if (argc != 3)
		return 2;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(atoi(argv[1]));
	target = address;
	target.sin_port = htons(atoi(argv[2]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(listener, 64) != 0)
		die("listen");
	if (pthread_create(&thread, NULL, accept_main, &listener) != 0)
		die("pthread_create");
	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		atomic_store(&delay_ns, (long long) (atof(line) * 1e6));
		fputs(line, stdout);
		fflush(stdout);
	}
	_exit(0);
}
