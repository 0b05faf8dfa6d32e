/*-------------------------------------------------------------------------
 *
 * group.h
 *	  Who is in a consumer worker's group.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_GROUP_H
#define DJK_GROUP_H

#include "worker/member.h"

/*
 * The worker's name as a static member.  NULL: the embedded broker knows no
 * static members, one that died would hold up the group.
 */
extern char *djk_group_instance(DjkMember *worker);

/*
 * As long as the group counts this worker as a static member, its partitions go
 * to nobody else; and the library would end before its goodbye has been sent.
 */
extern bool djk_group_holds(DjkMember *worker, int timeout_ms);

/* A live member of the group that is not ours, in words; NULL if there is none. */
extern char *djk_group_foreign_member(DjkMember *worker, int timeout_ms, bool *answered);

#endif							/* DJK_GROUP_H */
