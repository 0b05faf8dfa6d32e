/*-------------------------------------------------------------------------
 *
 * shim.h
 *	  Just enough of a server to run the codecs in a plain program.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_FUZZ_SHIM_H
#define DJK_FUZZ_SHIM_H

/* Frees everything allocated since the last call, and forgets it. */
extern void shim_free_all(void);

/* The bytes that are allocated now. */
extern size_t shim_allocated(void);

/* Aborts when so many more are allocated; 0: never. */
extern void shim_limit(size_t bytes);

#endif							/* DJK_FUZZ_SHIM_H */
