-- The extension as new: ids begin at 1, and nothing of another suite is left.
SET client_min_messages = error;
DO $$
BEGIN
    EXECUTE (SELECT format('SELECT %s.djkafka_uninstall(cascade => true)', extnamespace::regnamespace) FROM pg_extension WHERE extname = 'djkafka');
EXCEPTION WHEN null_value_not_allowed THEN NULL;
END $$;
CREATE EXTENSION djkafka;
RESET client_min_messages;

-- What a statement is refused with: SQLSTATE, message, detail, hint.
CREATE OR REPLACE FUNCTION public.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    code text; message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'ACCEPTED: ' || statement;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN code || ' ' || message || coalesce(E'\n  DETAIL: ' || nullif(detail, ''), '')
        || coalesce(E'\n  HINT: ' || nullif(hint, ''), '');
END $$;

-- Gives messages to a consumer, and says what became of them.
CREATE OR REPLACE FUNCTION public.give(messages jsonb, consumer text = 'default') RETURNS text LANGUAGE sql AS $$
    SELECT applied || ' applied, ' || dead || ' dead' FROM public.djkafka_run(name => consumer, messages => messages)
$$;

-- The dead letters of a consumer, and away with them.  Which column did not take its value
-- stands in the message, or in the context where the type throws, as more do on PostgreSQL 15.
CREATE OR REPLACE FUNCTION public.dead_letters() RETURNS SETOF text LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM public.djkafka_dead_letter RETURNING *)
    SELECT topic || ':' || "offset" || ' ' || sqlstate || ' ' || coalesce(substring(context FROM '(?n)^column ".*"$') || ': ', '') || message || coalesce(E'\n  DETAIL: ' || detail, '')
        || coalesce(E'\n  HINT: ' || hint, '') FROM gone ORDER BY id
$$;
