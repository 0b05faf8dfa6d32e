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

/* Leaves the group for good, static member or not, within some seconds. */
extern void djk_group_leave(DjkMember *worker);

/*
 * What a worker offers the group: the strategies that go together, the wanted
 * one first.  The group takes what most want of what all offer, so members that
 * still want another one do not keep the others out.
 */
extern const char *djk_group_strategies(const char *assignment);

/* The number of the worker of this consumer that a member is; 0 if it is none of ours. */
extern int	djk_group_number(DjkMember *worker, const DjkGroupMember *member);

/* A live member of the group that is not ours, in words; NULL if there is none. */
extern char *djk_group_foreign_member(DjkMember *worker, const DjkGroupView *view);

/* What two definitions join their group with is the same: static members may stay. */
extern bool djk_group_same_membership(const DjkConsumerRow *a, const DjkConsumerRow *b);

/*
 * Before joining: static members of ours that would get or keep an assignment
 * that does not fit the definition any more leave the group.  True if there was
 * one, so that the group is another one now.
 */
extern bool djk_group_clear(DjkMember *worker, const DjkGroupView *view);

#endif							/* DJK_GROUP_H */
