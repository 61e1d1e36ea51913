-- --- keeping -----------------------------------------------------------------------------------------------------

-- What is due is found by this: the pairs of category and retention are few.
create index object_due on regions.object (category, retention, taken) where state = 'held';

-- What is to become an event of this site's journal, asked for beside the process that writes it.
create table regions.wish (
    id bigint generated always as identity primary key,
    kind text not null,
    handle bytea check (octet_length(handle) = 32),
    body bytea not null,
    -- The event that it became.
    position bigint check (position > 0)
);
create index wish_open on regions.wish (id) where position is null;

-- Up to where the ciphertexts of removed objects have been deleted here, by the journal that removed them.
create index event_removed on regions.event (site, position) where kind = 'removed';
create table regions.cleared (
    site text primary key references regions.journal,
    position bigint not null check (position >= 0)
);

-- A new key epoch: `old` are destroyed at its end. One at a time.
create table regions.rekey (
    id bigint generated always as identity primary key,
    old text[] not null check (cardinality(old) > 0),
    -- Canonical JSON: the journals' positions when it began.
    covers bytea not null,
    ended boolean not null default false
);
create unique index rekey_once on regions.rekey ((true)) where not ended;

-- Written before a key is destroyed: nothing that it wrapped is taken from here on.
create table regions.destroyed_key (
    id text primary key
);
create function regions.living_keys() returns trigger
language plpgsql as $$
begin
    if exists (select 1 from added, regions.destroyed_key as gone where gone.id in (wrapped_by, transfer_by)) then
        raise exception 'a data key was wrapped by a key epoch that has been destroyed: wrap it again';
    end if;
    return null;
end
$$;
create trigger living_keys after insert on regions.object
    referencing new table as added for each statement execute function regions.living_keys();
