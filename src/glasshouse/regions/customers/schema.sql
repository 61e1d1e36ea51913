-- Who may send data to this site. Each site of a region has a list of its own.
create schema customers;

create table customers.customer (
    id text primary key check (id ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    -- Fixed for good: it decides the region.
    country text not null check (country ~ '^[A-Z]{2}$'),
    -- The Ed25519 key with which the customer asks to have objects erased.
    public_key bytea check (octet_length(public_key) = 32),
    -- The token itself is nowhere.
    token_sha256 bytea not null unique check (octet_length(token_sha256) = 32),
    -- Unix seconds. A revoked customer may be given a new token.
    enrolled bigint not null,
    revoked bigint check (revoked >= enrolled),
    -- What the customer has decided: nothing at all, not these categories, at most so many bytes a day (UTC).
    off boolean not null default false,
    categories_off text[] not null default '{}',
    bytes_per_day bigint check (bytes_per_day >= 0),
    -- Unix milliseconds: of two sites' word on an account, the later counts when a region moves.
    changed bigint not null default 0
);

-- Bytes taken on a day (days since 1970), of customers with a limit alone.
create table customers.usage (
    customer text not null references customers.customer,
    day bigint not null,
    bytes bigint not null check (bytes >= 0),
    -- Of these, what the site that the region has left counted.
    carried bigint not null default 0 check (carried >= 0),
    primary key (customer, day)
);
