# What scripts that work in a chroot share; sourced by them, never run.
#
# Root that makes a chroot, mounts into it and removes it could take the machine
# along.  Therefore:
#
# - All that mounts, runs in the chroot or removes runs in a mount namespace and
#   a process namespace of its own, and makes sure of it first.  When its first
#   process ends, the kernel ends what is left in it and takes the mounts away.
# - Nothing of the machine is bound into the chroot: it gets a proc of its own
#   process namespace, and tmpfs.
# - A folder is removed on one file system only, and not at all while anything is
#   mounted at it or below.
# - A lock keeps a second run out of the folder.
#
# The script sets folder, which is its own, and chroot_, which lies in it; calls
# enter "$@" and goes on inside.

# Empty where this process may not look.
namespace() { readlink "/proc/$1/ns/mnt" || true; }

# A plain path, without links on its way: only for such a one can the table of
# mounts be read by comparing text.
is_plain() {
	[[ $1 =~ ^(/[A-Za-z0-9_][A-Za-z0-9._-]*){2,}$ ]] && [ "$(realpath -m -- "$1")" = "$1" ]
}

is_mounted_below() {
	awk -v folder="$1" '$5 == folder || index($5, folder "/") == 1 { found = 1 } END { exit !found }' /proc/self/mountinfo
}

remove() {
	is_plain "$1" || die "will not remove $1: not a plain path"
	if is_mounted_below "$1"; then
		die "will not remove $1: something is mounted in it"
	fi
	rm -rf --one-file-system -- "$1"
}

# Outside: takes the lock and runs the script again, inside.
run_inside() {
	local child caller
	[ "$(id -u)" = 0 ] || die "a chroot needs root"
	command -v debootstrap >/dev/null || die "there is no debootstrap: apt-get install debootstrap"
	is_plain "$folder" || die "DJK_CHROOTS must be a plain absolute path without links: $folder"
	mkdir -p "$folder"
	[ ! -L "$folder" ] && [ -O "$folder" ] || die "$folder belongs to somebody else"
	exec 9<"$folder"
	flock --nonblock 9 || die "another run is at work in $folder"
	[ "/proc/$$/fd/9" -ef "$folder" ] || die "another run has just removed $folder: try again"
	caller=$(namespace self)
	DJK_INSIDE=${caller:-unknown} setpriv --pdeathsig KILL \
		unshare --mount --propagation private --pid --fork --kill-child -- "$0" "$@" </dev/null &
	child=$!
	# Only SIGKILL ends the first process of a process namespace for certain.
	trap 'kill -KILL $child; exit 130' INT TERM HUP
	wait $child
}

# Inside: dies unless this is the first process of a process namespace, in a mount
# namespace that is neither the caller's nor the machine's, from which no mount
# propagates.  /proc is still the machine's here.
require_own_mounts() {
	local own
	own=$(namespace self)
	[[ $1 =~ ^mnt:\[[0-9]+\]$ && $own =~ ^mnt:\[[0-9]+\]$ ]] || die "cannot tell the mount namespaces apart"
	[ "$own" != "$1" ] && [ "$own" != "$(namespace 1)" ] || die "this is no mount namespace of its own"
	[ $$ = 1 ] || die "this is no process namespace of its own"
	if grep -qE ' (shared|master):[0-9]+ ' /proc/self/mountinfo; then
		die "mounts would propagate out of this mount namespace"
	fi
	is_plain "$chroot_" || die "$chroot_ is not a plain path"
	if is_mounted_below "$folder"; then
		die "something is mounted in $folder: see to it by hand"
	fi
}

# What the shell and the chroot's programs mounted; the first umount of a folder
# uncovers the one below.
unmount() {
	local mounted
	for mounted in $(awk -v folder="$chroot_" 'index($5, folder "/") == 1 { print $5 }' /proc/self/mountinfo | sort -r); do
		umount "$mounted" || umount --lazy "$mounted" || true
	done
}

# What is to stay of the folder: nothing unless the script says otherwise.
clean_up() { remove "$folder"; }

leave() {
	local status=$?
	unmount
	clean_up
	exit $status
}

in_chroot() { chroot "$chroot_" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 ${http_proxy:+http_proxy="$http_proxy"} "$@"; }

# make_chroot RELEASE
make_chroot() {
	local release=$1
	say "== debootstrap $release"
	remove "$chroot_"
	mkdir -p "$chroot_"
	# Where it cannot make devices debootstrap would bind the machine's.
	rm -f "$folder/null"
	mknod "$folder/null" c 1 3 && : >"$folder/null" || die "cannot make devices in $folder"
	# shellcheck disable=SC2086
	debootstrap --variant=minbase "$release" "$chroot_" ${DJK_DEBIAN_MIRROR:-} >"$folder/log" 2>&1 ||
		{ tail -n 20 "$folder/log" >&2; die "debootstrap failed"; }
	unmount
}

mount_folders() {
	local name
	mkdir -p "$chroot_/dev/shm" "$chroot_/src"
	for name in proc dev/shm tmp src; do
		is_plain "$chroot_/$name" || die "$chroot_/$name is not a plain path"
	done
	mount -t proc proc "$chroot_/proc"
	for name in dev/shm tmp src; do
		mount -t tmpfs -o mode=1777 tmpfs "$chroot_/$name"
	done
}

# No daemon starts where a package is installed.
forbid_daemons() {
	printf '#!/bin/sh\nexit 101\n' >"$chroot_/usr/sbin/policy-rc.d"
	chmod 755 "$chroot_/usr/sbin/policy-rc.d"
}

# apt_get ARGUMENTS…: in the chroot.  Like debootstrap, takes an archive as it was
# on a day.
apt_get() {
	in_chroot DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 \
		-o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false "$@" >>"$folder/log" 2>&1 ||
		{ tail -n 20 "$folder/log" >&2; die "apt-get failed: $*"; }
}

# What git knows, as it is here, committed or not.
copy_sources() {
	mkdir "$chroot_/src/djkafka"
	git -C "$root" -c safe.directory="$root" ls-files -z --cached --others --exclude-standard |
		tar --create --directory="$root" --null --files-from=- --ignore-failed-read |
		tar --extract --no-same-owner --directory="$chroot_/src/djkafka"
}

# enter ARGUMENTS…: returns inside only, where leaving cleans up.
enter() {
	if [ -z "${DJK_INSIDE:-}" ]; then
		run_inside "$@"
		exit
	fi
	require_own_mounts "$DJK_INSIDE"
	trap leave EXIT
}
