/*-------------------------------------------------------------------------
 *
 * spi.h
 *	  Beginning with SPI.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SPI_H
#define DJK_SPI_H

#include "base/djk.h"

#include "executor/spi.h"

/* SPI_connect(), or ERROR internal_error. */
static inline void
djk_spi_connect(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

#endif							/* DJK_SPI_H */
