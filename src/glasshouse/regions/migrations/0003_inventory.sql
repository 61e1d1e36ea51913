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
