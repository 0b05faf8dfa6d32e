/*-------------------------------------------------------------------------
 *
 * topic.h
 *	  The topics that the outbox worker sends to, and those that are held.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_TOPIC_H
#define DJK_OUTBOX_TOPIC_H

#include "outbox/sender.h"

/* The table's entry, made if it is new. */
extern DjkOutboxTopic *djk_sender_topic(DjkSender *sender, const char *name);
extern void djk_sender_hold_topic(DjkSender *sender, DjkOutboxTopic *topic, const char *reason);
extern void djk_sender_release_topic(DjkSender *sender, DjkOutboxTopic *topic);

/* Checks the topics of the PENDING messages; BLOCKED are those that cannot be written to. */
extern void djk_sender_check_topics(DjkSender *sender);

/* Whether some message of the batch is BLOCKED. */
extern bool djk_sender_has_blocked(const DjkSender *sender);

/* The table is made, with the process. */
extern void djk_sender_create_topics(DjkSender *sender);

/* Forgets all but those that are held if there are too many, and the producer with them. */
extern void djk_sender_limit_topics(DjkSender *sender);

/* The held topic whose time to be asked for has come first; NULL if none's has. */
extern DjkOutboxTopic *djk_sender_due_topic(DjkSender *sender);

/* The same, if it can be written to again: asks Kafka. */
extern DjkOutboxTopic *djk_sender_open_topic(DjkSender *sender);

/* How long it is until then, in ms; 'wait' at most. */
extern long djk_sender_held_wait_ms(DjkSender *sender, long wait);

#endif							/* DJK_OUTBOX_TOPIC_H */
