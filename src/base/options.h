/*-------------------------------------------------------------------------
 *
 * options.h
 *	  Properties written as a JSON object.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_OPTIONS_H
#define DJK_OPTIONS_H

#include "base/djk.h"
#include "base/property.h"

/*
 * Reads {"name": "value", …}, values being strings, numbers or booleans, into
 * an array in CurrentMemoryContext.  False with *error if it is none; never
 * throws, so it may be used in a check hook.
 */
extern bool djk_options_parse(const char *json, DjkProperty **properties, int *count, DjkError *error);

#endif							/* DJK_OPTIONS_H */
