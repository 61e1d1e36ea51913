-- The ledger's state: which entries were acknowledged, in which order, and which tree was signed last.
-- What is served (tiles, entry bundles, checkpoints) lies in the object store and can be made again from here.
create schema ledger;

create table ledger.log (
    log_id integer generated always as identity primary key,
    -- Never reused: a row is never deleted.
    origin text not null unique check (origin <> ''),
    vkey text not null,
    -- How many entries have an index; the next one takes this index.
    sequenced bigint not null default 0 check (sequenced >= 0),
    -- The newest tree signed by the log; null before the first. Changed by compare-and-swap only.
    signed_size bigint check (signed_size between 0 and sequenced),
    signed_root bytea check (octet_length(signed_root) = 32),
    created_at timestamptz not null default now(),
    check ((signed_size is null) = (signed_root is null))
);

create table ledger.entry (
    log_id integer not null,
    index bigint not null check (index >= 0),
    -- RFC 6962 leaf hash of data. Identical entries have one index.
    leaf bytea not null check (octet_length(leaf) = 32),
    data bytea not null check (octet_length(data) between 1 and 65535),
    primary key (log_id, index),
    unique (log_id, leaf)
);

-- Which entries name a digest.
create table ledger.digest (
    log_id integer not null,
    digest bytea not null check (octet_length(digest) = 32),
    index bigint not null,
    primary key (log_id, digest, index)
);

create table ledger.checkpoint (
    log_id integer not null references ledger.log,
    size bigint not null check (size >= 0),
    root bytea not null check (octet_length(root) = 32),
    -- The note with the log's signature alone, and with the cosignatures that satisfied the witness policy.
    signed bytea not null,
    witnessed bytea,
    signed_at timestamptz not null default now(),
    witnessed_at timestamptz check ((witnessed_at is null) = (witnessed is null)),
    primary key (log_id, size)
);

-- Entries enqueued in a caller's own transaction. The writer takes them in order; one that is not admitted stays, with
-- the reason.
create table ledger.outbox (
    outbox_id bigint generated always as identity primary key,
    log_id integer not null references ledger.log,
    data bytea not null check (octet_length(data) between 1 and 65535),
    refused text,
    created_at timestamptz not null default now()
);
create index outbox_waiting on ledger.outbox (log_id, outbox_id) where refused is null;

create function ledger.enqueue(for_origin text, entry bytea) returns bigint
language plpgsql as $$
declare
    given bigint;
begin
    insert into ledger.outbox (log_id, data)
        select log.log_id, entry from ledger.log where log.origin = for_origin
        returning outbox_id into given;
    if given is null then
        raise exception 'there is no log of the origin %', for_origin;
    end if;
    return given;
end
$$;

-- A log only grows. The rule stands here so that no program with a bug, old or new, can break it.
create function ledger.only_grows() returns trigger
language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'a log is never deleted';
    end if;
    if new.log_id <> old.log_id or new.origin <> old.origin then
        raise exception 'a log never changes its origin';
    end if;
    if new.sequenced < old.sequenced then
        raise exception 'a log never shrinks';
    end if;
    if old.signed_size is not null and (
        new.signed_size is null or new.signed_size < old.signed_size
        or (new.signed_size = old.signed_size and new.signed_root <> old.signed_root)
    ) then
        raise exception 'a log never signs a smaller tree, or two trees of one size';
    end if;
    return new;
end
$$;
create trigger only_grows before update or delete on ledger.log for each row execute function ledger.only_grows();

create function ledger.append_only() returns trigger
language plpgsql as $$
begin
    raise exception 'entries are only appended';
end
$$;
create trigger append_only before update or delete on ledger.entry
    for each row execute function ledger.append_only();
