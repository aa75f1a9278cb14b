-- expect(what, condition): says that an example's claim holds, or stops the script. NULL is not true.
CREATE FUNCTION pg_temp.expect(what text, holds boolean) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF holds IS NOT TRUE THEN
        RAISE EXCEPTION 'expected: %', what;
    END IF;
    RETURN 'ok - ' || what;
END $$;
