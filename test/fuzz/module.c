/*-------------------------------------------------------------------------
 *
 * module.c
 *	  Makes a loadable library of the codecs and their tests alone, so that
 *	  codec_fuzz.sh can build it with sanitizers and load it by its path.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;
