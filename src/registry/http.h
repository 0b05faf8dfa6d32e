/*-------------------------------------------------------------------------
 *
 * http.h
 *	  Requests to a schema registry, each in a thread of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_HTTP_H
#define DJK_HTTP_H

#include "base/call.h"
#include "base/djk.h"
#include "base/property.h"

/* Most bytes that an answer may have. */
#define DJK_HTTP_ANSWER_MAX		(16 * 1024 * 1024)

/* How long one address is waited for, and how much of that a connection may take. */
#define DJK_HTTP_TIMEOUT_MS		5000
#define DJK_HTTP_CONNECT_MS		3000

/* How to reach a registry; in the context in which it was made. */
typedef struct DjkHttpAccess DjkHttpAccess;

/*
 * What 'properties' say of a registry; NULL if they name none.  Text is that of
 * the properties, which need not stay.
 */
extern DjkHttpAccess *djk_http_access(const DjkProperty *properties, int nproperties);

/* One answer; status 0: there was none, and reason says why. */
typedef struct DjkHttpAnswer
{
	int			status;
	char	   *body;			/* palloc'd, with a zero behind it */
	size_t		len;
	char	   *reason;			/* printable, palloc'd: also of an answer that is none of a registry's */
} DjkHttpAnswer;

typedef struct DjkHttpRequest DjkHttpRequest;

/* How many addresses there are, which are known by number; which is best asked first; */
extern int	djk_http_count(const DjkHttpAccess *access);
extern int	djk_http_first(const DjkHttpAccess *access);

/* … and this one is from now on. */
extern void djk_http_prefer(DjkHttpAccess *access, int address);

/* Begins to ask an address for 'path'.  NULL if there is no memory or no thread. */
extern DjkHttpRequest *djk_http_get(const DjkHttpAccess *access, int address, const char *path);

/*
 * Waits until 'until_ms' of djk_clock_ms() at most, and up to one slice; true if
 * there is an answer, and the request is gone.
 */
extern bool djk_http_wait(DjkHttpRequest *request, double until_ms, DjkHttpAnswer *answer);

/* Nobody waits for it any more. */
extern void djk_http_abandon(DjkHttpRequest *request);

/* A part of a path, as it stands in one; palloc'd. */
extern char *djk_http_escape(const char *text);

/* What came from the network as a part of a message: printable ASCII, 'max' bytes at most; palloc'd. */
extern char *djk_http_printable(const char *text, size_t len, size_t max);

#endif							/* DJK_HTTP_H */
