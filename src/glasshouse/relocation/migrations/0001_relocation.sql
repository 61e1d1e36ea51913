-- What a destination has of foreign stores that were moved to it, and the work that is still to be done. One set of
-- tables for each destination, in its own database. What is read; migrations/ is what is run.

create schema relocation;

-- A pass goes through the whole store once. The first copies everything, each later one what has changed since.
create table relocation.pass (
    relocation text not null,
    number integer not null check (number > 0),
    -- A worker without work says so here; one that has some gives away half of what is left of its range.
    wanted_until timestamptz,
    primary key (relocation, number)
);

-- A range of keys, after < key <= upto; the ranges of a pass cover every key once.
create table relocation.shard (
    relocation text not null,
    pass integer not null,
    id bigint generated always as identity,
    after bytea not null,
    upto bytea,
    -- Every key up to here is done. It moves in the transaction that lands what was copied.
    cursor bytea not null,
    done boolean not null default false,
    -- Whose work it is, and until when that is believed without another word from there.
    worker text,
    lease_until timestamptz,
    landed bigint not null default 0,
    size bigint not null default 0,
    vanished bigint not null default 0,
    primary key (relocation, pass, id),
    foreign key (relocation, pass) references relocation.pass (relocation, number),
    check (upto is null or after <= upto),
    check (cursor >= after and (upto is null or cursor <= upto)),
    check ((worker is null) = (lease_until is null))
);

-- A version of an object that this destination has durably: its ciphertext was read back, and hashed, before this row.
create table relocation.landed (
    relocation text not null,
    handle bytea not null check (length(handle) = 32),
    key bytea not null check (length(key) between 1 and 1024),
    ordinal integer not null check (ordinal >= 0),
    -- What the store said of it when it was listed: by these, a later pass tells what has changed.
    version text,
    tag text not null,
    modified bigint not null,
    listed_size bigint not null,
    -- Null, as all of the following, for a delete marker.
    content bytea check (length(content) = 32),
    size bigint not null check (size >= 0),
    commitment bytea not null check (length(commitment) = 32),
    sealed bytea check (length(sealed) = 32),
    sealed_size bigint,
    -- The data key as it is kept for good, and for this site alone until the arrival is in the ledger.
    wrapped_by text,
    custodian bytea,
    wrapped bytea,
    transfer_by text,
    transfer bytea,
    primary key (relocation, handle),
    unique (relocation, key, ordinal),
    check ((content is null) = (sealed is null) and (content is null) = (sealed_size is null)),
    check ((content is null) = (wrapped is null) and (content is null) = (wrapped_by is null)),
    check ((transfer is null) = (transfer_by is null))
);
