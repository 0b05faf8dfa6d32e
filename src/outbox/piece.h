/*-------------------------------------------------------------------------
 *
 * piece.h
 *	  Messages of a batch that are sent together, and what their answers mean.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OUTBOX_PIECE_H
#define DJK_OUTBOX_PIECE_H

#include "outbox/sender.h"

/* Messages of the batch from the first on; of these the PENDING ones are meant. */
typedef struct DjkPiece
{
	int			first;
	int			end;			/* behind the last */
} DjkPiece;

/* The next messages that may be sent together.  False if none is PENDING. */
extern bool djk_sender_next_piece(const DjkSender *sender, DjkPiece *piece);

/* Hands them to the library.  False if its producer is spent, or a topic stalls. */
extern bool djk_sender_hand_over(DjkSender *sender, const DjkPiece *piece);

/* Waits until all of them are answered.  False if first the producer is spent, or a topic stalls. */
extern bool djk_sender_await(DjkSender *sender, const DjkPiece *piece);

/*
 * What the answers mean: what is not final is PENDING again, and what was refused
 * together with others is suspected.  True if all are DONE.
 */
extern bool djk_sender_judge(DjkSender *sender, const DjkPiece *piece);

/* What is left to find out about the batch: less with each answer, and with each suspect. */
extern int	djk_sender_count_unknown(const DjkSender *sender);

#endif							/* DJK_OUTBOX_PIECE_H */
