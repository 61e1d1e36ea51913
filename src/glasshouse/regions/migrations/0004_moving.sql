-- A site whose region has moved away takes nothing more: the event `fenced` ends what it stores.
alter table regions.event drop constraint event_kind_check;
alter table regions.event add constraint event_kind_check check (
    kind in ('stored', 'removed', 'held', 'released', 'epoch', 'counters', 'rekeyed', 'damaged', 'fenced')
);
create index event_fenced on regions.event (site, position) where kind = 'fenced';

create function regions.stays_fenced() returns trigger
language plpgsql as $$
begin
    if exists (
        select 1 from regions.event as fence join added on added.site = fence.site
        where fence.kind = 'fenced' and added.kind = 'stored' and added.position > fence.position
    ) then
        raise exception 'a site that is fenced stores nothing more';
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
