/*-------------------------------------------------------------------------
 *
 * publish_secrets.c
 *	  Columns that are called like a secret, and published because nobody said
 *	  otherwise.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publication.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "utils/rel.h"

/* Anywhere in a name, where what parts its words does not count. */
static const char *const parts[] = {
	"password", "passwd", "passphrase", "passcode", "secret", "token", "credential", "apikey", "accesskey", "authkey",
	"privatekey", "encryptionkey", "signingkey", "sshkey", "sessionkey", "recoverycode", "backupcode"
};

/* Between underscores, for they are parts of other words: basalt. */
static const char *const words[] = {"pwd", "salt", "otp", "totp", "pin", "cvv", "cvc", "ssn", "hash", "jwt"};

static bool
is_word(const char *name, const char *word)
{
	int			len = strlen(word);

	for (const char *p = name; (p = strstr(p, word)) != NULL; p++)
	{
		if ((p == name || p[-1] == '_') && (p[len] == '_' || p[len] == '\0'))
			return true;
	}
	return false;
}

/* A name in lower case: its words with underscores between them, and with nothing. */
static void
simplify(const char *name, char *apart, char *together)
{
	for (; *name != '\0'; name++)
	{
		bool		letter = isalnum((unsigned char) *name) || IS_HIGHBIT_SET(*name);

		*apart++ = letter ? pg_ascii_tolower((unsigned char) *name) : '_';
		if (letter)
			*together++ = pg_ascii_tolower((unsigned char) *name);
	}
	*apart = '\0';
	*together = '\0';
}

static bool
is_called_like_a_secret(const char *name)
{
	char		apart[NAMEDATALEN];
	char		together[NAMEDATALEN];

	simplify(name, apart, together);
	for (int i = 0; i < lengthof(parts); i++)
	{
		if (strstr(together, parts[i]) != NULL)
			return true;
	}
	for (int i = 0; i < lengthof(words); i++)
	{
		if (is_word(apart, words[i]))
			return true;
	}
	return false;
}

void
djk_publish_warn_of_secrets(const DjkPublicationRow *row, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData names;

	if (row->is_outbox || row->include != NULL)
		return;
	initStringInfo(&names);
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (TupleDescAttr(desc, i)->attisdropped || !is_called_like_a_secret(name) ||
			djk_publish_is_listed(name, row->exclude, row->nexclude) ||
			djk_publish_is_listed(name, row->column_names, row->ncolumns))
			continue;
		appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", name);
	}
	if (names.len > 0)
		ereport(WARNING,
				(errmsg("columns of table \"%s\" that are called like a secret are published: %s",
						RelationGetRelationName(rel), names.data),
				 errdetail("Whoever may read topic \"%s\" reads them.", row->topic),
				 errhint("Leave them out with exclude, or name all that is to be published with include.")));
}
