/*-------------------------------------------------------------------------
 *
 * group.h
 *	  Who is in a consumer worker's group.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_GROUP_H
#define DJK_GROUP_H

#include "consumer/member.h"

/*
 * The worker's name as a static member.  NULL: the embedded broker knows no
 * static members, one that died would hold up the group.
 */
extern char *djk_group_instance(DjkConsumerWorker *worker);

/* The name of any worker of the consumer, by its number. */
extern char *djk_group_instance_of(DjkConsumerWorker *worker, int number);

/*
 * 'kafka' leaves the group for good, which it is in by the name of a worker,
 * within some seconds.  'asker' asks the brokers about it, and may be another.
 */
extern void djk_group_leave_as(DjkConsumerWorker *worker, DjkConsumer *kafka, DjkConsumer *asker, int number);

/* The worker itself does, static member or not. */
extern void djk_group_leave(DjkConsumerWorker *worker);

/*
 * What a worker offers the group: the strategies that go together, the wanted
 * one first.  The group takes what most want of what all offer, so members that
 * still want another one do not keep the others out.
 */
extern const char *djk_group_strategies(const char *assignment);

/* The number of the worker of this consumer that a member is; 0 if it is none of ours. */
extern int	djk_group_number(DjkConsumerWorker *worker, const DjkGroupMember *member);

/* A live member of the group that is not ours, in words; NULL if there is none. */
extern char *djk_group_foreign_member(DjkConsumerWorker *worker, const DjkGroupView *view);

/* What two definitions join their group with is the same: static members may stay. */
extern bool djk_group_same_membership(const DjkConsumerRow *a, const DjkConsumerRow *b);

#endif							/* DJK_GROUP_H */
