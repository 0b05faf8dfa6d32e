/*-------------------------------------------------------------------------
 *
 * condition.h
 *	  Conditions as people write them: codes, classes and names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_CONDITION_H
#define DJK_CONDITION_H

#include "base/djk.h"

/* Most codes that one name has. */
#define DJK_CONDITION_CODES		2

/*
 * What '23505', the class '23' or the name 'unique_violation' stands for: into
 * 'codes', which has room for DJK_CONDITION_CODES.  Returns how many; 0: there is
 * none.  A code that ends in 000 stands for its class, as in PL/pgSQL.
 */
extern int	djk_condition_find(const char *word, int *codes);

extern bool djk_condition_matches(int condition, int sqlstate);

#endif							/* DJK_CONDITION_H */
