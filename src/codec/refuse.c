/*-------------------------------------------------------------------------
 *
 * refuse.c
 *	  Why a message is not of a format, in words that are the format's own.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/codec.h"

#include "base/error.h"

bool
djk_codec_refuse(const DjkDecoded *decoded, int sqlstate, const char *message, const char *detail, const char *hint,
				 DjkError *error)
{
	DjkError	refused = {
		.sqlstate = sqlstate,
		.message = unconstify(char *, message),
		.detail = unconstify(char *, detail),
		.hint = unconstify(char *, hint)
	};

	djk_error_copy(&refused, decoded->context, error);
	return false;
}
