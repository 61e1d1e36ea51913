-- What one site keeps of its region: the journals, the objects, and how far each peer has come.
-- The sealed objects themselves lie in the vault (a directory or a bucket) under their handles.
create schema regions;

-- One row only: a database belongs to one site of one region, for good.
create table regions.site (
    one boolean primary key default true check (one),
    region text not null check (region <> ''),
    site text not null check (site <> ''),
    -- The inventory in which an object taken now will show up first.
    epoch bigint not null default 1 check (epoch > 0),
    created_at timestamptz not null default now()
);

-- The site's own journal, and its contiguous replicas of its peers' journals. Only events move a journal on.
create table regions.journal (
    site text primary key,
    -- The last event's position and the last receipt's number; 0 before the first.
    position bigint not null default 0 check (position >= 0),
    number bigint not null default 0 check (number between 0 and position),
    -- SHA-256(the chain before ‖ the event's digest), over every event up to position; 32 zero bytes before the first.
    chain bytea not null default decode(repeat('00', 32), 'hex') check (octet_length(chain) = 32),
    -- Uploads since it began; for a peer's journal as its last event `counters` says.
    received bigint not null default 0,
    refused bigint not null default 0 check (refused between 0 and received)
);

create table regions.event (
    -- A journal that there is: see regions.grow.
    site text not null,
    position bigint not null check (position > 0),
    kind text not null check (kind in ('stored', 'removed', 'held', 'released', 'epoch', 'counters', 'rekeyed', 'damaged', 'fenced')),
    number bigint check ((number is not null) = (kind = 'stored')),
    handle bytea check (octet_length(handle) = 32),
    -- Canonical JSON. An object's facts stand in regions.object and go when it is erased: here remains their digest.
    body bytea check ((body is null) = (kind = 'stored')),
    digest bytea not null check (octet_length(digest) = 32),
    chain bytea not null check (octet_length(chain) = 32),
    primary key (site, position),
    check ((handle is not null) = (kind in ('stored', 'removed', 'held', 'released', 'damaged')))
);
create unique index event_number on regions.event (site, number) where kind = 'stored';
create index event_handle on regions.event (handle) where handle is not null and kind <> 'stored';

-- Every object that this site holds, or held: taken by itself or by a peer. A handle is used once.
-- Room is left in its pages: every row is written a second time, when its receipt is signed.
create table regions.object (
    handle bytea primary key check (octet_length(handle) = 32),
    -- Who took it: its place in that site's journal, and the number of the receipt.
    site text not null,
    position bigint not null,
    number bigint not null,
    -- held → removed, or → moved at a site that the region has left; never back.
    state text not null default 'held' check (state in ('held', 'removed', 'moved')),
    on_hold boolean not null default false,
    customer text,
    country text,
    customer_key bytea check (octet_length(customer_key) = 32),
    sha256 bytea check (octet_length(sha256) = 32),
    size bigint check (size >= 0),
    category text,
    retention bigint check (retention > 0),
    epoch bigint check (epoch > 0),
    charter bytea check (octet_length(charter) = 32),
    party text,
    salt bytea check (octet_length(salt) = 32),
    -- Unix seconds.
    taken bigint,
    sealed_sha256 bytea check (octet_length(sealed_sha256) = 32),
    sealed_size bigint check (sealed_size > 0),
    -- The data key as this site keeps it (wrapping.py): key epoch, SHA-256 of the custodian's public key, blob.
    wrapped_by text,
    custodian bytea check (octet_length(custodian) = 32),
    wrapped bytea,
    -- The data key under this site's key alone, for the peers, until every one of them has acknowledged the object.
    transfer_by text,
    transfer bytea,
    -- Key id (32 bytes) ‖ signature (64 bytes), of the taker first; null until `replicas` sites have signed the receipt.
    signatures bytea check (octet_length(signatures) >= 96 and octet_length(signatures) % 96 = 0),
    unique (site, position),
    check (state <> 'held' or num_nulls(customer, country, sha256, size, category, retention, epoch, charter, party,
        salt, taken, sealed_sha256, sealed_size, wrapped_by, wrapped) = 0),
    check (state = 'held' or num_nonnulls(sha256, salt, wrapped, transfer) = 0),
    check (state = 'held' or not on_hold),
    constraint object_moved_check check (
        state <> 'moved' or num_nonnulls(customer, country, customer_key, size, category, sealed_sha256, signatures) = 0
    )
) with (fillfactor = 70);
-- The same content of the same customer is taken once, as long as it is held.
create unique index object_once on regions.object (customer, sha256, site) where state = 'held';

-- How far each peer has this site's journal, as the peer says.
create table regions.peer (
    site text primary key,
    acknowledged bigint not null default 0 check (acknowledged >= 0)
);

-- Journals have no gaps, and neither have receipt numbers: what is added follows on what is there, or is refused.
create function regions.grow() returns trigger
language plpgsql as $$
declare
    sites integer;
    grown integer;
begin
    select count(distinct site) into sites from added;
    with batch as (
        select site, min(position) as first, max(position) as last, count(*) as events,
            min(number) as first_number, max(number) as last_number, count(number) as numbers
        from added group by site
    )
    update regions.journal set
        position = batch.last,
        number = coalesce(batch.last_number, journal.number),
        chain = (select chain from added where added.site = batch.site and added.position = batch.last)
    from batch
    where journal.site = batch.site
        and batch.first = journal.position + 1 and batch.last = journal.position + batch.events
        and (batch.numbers = 0 or (
            batch.first_number = journal.number + 1 and batch.last_number = journal.number + batch.numbers
        ));
    get diagnostics grown = row_count;
    if grown <> sites then
        raise exception 'a journal has no gaps: its events and receipt numbers follow on each other';
    end if;
    return null;
end
$$;
create trigger grow after insert on regions.event
    referencing new table as added for each statement execute function regions.grow();

create function regions.append_only() returns trigger
language plpgsql as $$
begin
    raise exception 'events are only appended';
end
$$;
create trigger append_only before update or delete on regions.event
    for each statement execute function regions.append_only();

create function regions.only_grows() returns trigger
language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'a journal is never deleted';
    end if;
    if new.site <> old.site or new.position < old.position or new.number < old.number
        or new.received < old.received or new.refused < old.refused then
        raise exception 'a journal never goes back';
    end if;
    return new;
end
$$;
create trigger only_grows before update or delete on regions.journal
    for each row execute function regions.only_grows();

create function regions.once_removed() returns trigger
language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'the row of an object is never deleted';
    end if;
    if old.state <> 'held' and new.state <> old.state then
        raise exception 'an object that was removed, or has moved away, never comes back';
    end if;
    return new;
end
$$;
create trigger once_removed before update or delete on regions.object
    for each row execute function regions.once_removed();

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

-- The inventory as of the last epoch closed here: what deltas and proofs are made from.
create table regions.inventory_row (
    tree text not null check (tree in ('held', 'erased')),
    key bytea not null check (octet_length(key) = 32),
    -- Canonical JSON, as it stands in the manifest.
    row bytea not null,
    -- Of a tombstone whose residue is not gone yet: the event that removed the object.
    site text,
    position bigint,
    primary key (tree, key),
    check (num_nulls(site, position) in (0, 2)),
    check (tree = 'erased' or site is null)
);
create index inventory_residue on regions.inventory_row (key) where site is not null;

-- Shards that are not empty.
create table regions.inventory_shard (
    tree text not null check (tree in ('held', 'erased')),
    prefix text not null,
    root bytea not null check (octet_length(root) = 32),
    size bigint not null check (size >= 0),
    primary key (tree, prefix)
);

create index event_of_kind on regions.event (kind, site, position)
    where kind in ('held', 'released', 'epoch', 'counters', 'rekeyed');

create table regions.inventory (
    epoch bigint primary key check (epoch > 0),
    -- Position in each site's journal, canonical JSON.
    cut bytea not null,
    closed_at bigint not null,
    statement bytea not null check (octet_length(statement) = 32),
    -- The signed statement as it is logged, and the blob that it names.
    envelope bytea not null,
    delta bytea not null,
    posted boolean not null default false
);

-- --- moving -------------------------------------------------------------------------------------------------------

-- A site whose region has moved away takes nothing more: `fenced` ends what it stores, removes and holds.
create index event_fenced on regions.event (site, position) where kind = 'fenced';

create function regions.stays_fenced() returns trigger
language plpgsql as $$
begin
    if exists (
        select 1 from regions.event as fence join added on added.site = fence.site
        where fence.kind = 'fenced' and added.kind in ('stored', 'removed', 'held', 'released')
            and added.position > fence.position
    ) then
        raise exception 'a site that is fenced stores, removes and holds nothing more';
    end if;
    return null;
end
$$;
create trigger stays_fenced after insert on regions.event
    referencing new table as added for each statement execute function regions.stays_fenced();

-- Which moves have been fenced, at the site that was left and at those that take over.
create table regions.fence (
    relocation text not null,
    -- The site that says it of itself, and the place of the event in its journal.
    site text not null,
    position bigint not null check (position > 0),
    -- Unix milliseconds: when that site stopped taking, when this one began to, and when it took its first object.
    fenced_ms bigint not null,
    opened_ms bigint,
    first_ms bigint,
    -- Uploads that the site that was left has refused since.
    refused bigint not null default 0 check (refused >= 0),
    primary key (relocation, site)
);

-- Objects that came from a site that was left: under which digest its journal has the ciphertext. Here it is another.
create table regions.resealed (
    handle bytea primary key references regions.object,
    sealed_sha256 bytea not null check (octet_length(sealed_sha256) = 32)
);

-- The erasure of a site that its region has left, once it has begun: what was erased beside the objects.
create table regions.departure (
    relocation text primary key,
    -- The amendment that closed the move.
    charter bytea not null check (octet_length(charter) = 32),
    customers bigint not null default 0,
    keys text[] not null default '{}'
);

create function regions.departed() returns trigger
language plpgsql as $$
begin
    if exists (select 1 from regions.departure) then
        raise exception 'the region has left this site: nothing is taken here';
    end if;
    return null;
end
$$;
create trigger departed before insert on regions.object
    for each statement execute function regions.departed();
