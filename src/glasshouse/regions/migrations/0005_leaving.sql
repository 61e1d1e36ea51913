-- A site that its region has left forgets what it held: of an object that has moved away, its row keeps the handle and
-- its places in the journal, and nothing of its customer or its key.
alter table regions.object drop constraint object_state_check;
alter table regions.object add constraint object_state_check check (state in ('held', 'removed', 'moved'));
alter table regions.object drop constraint object_check;
alter table regions.object add constraint object_check check (
    state <> 'held' or num_nulls(customer, country, sha256, size, category, retention, epoch, charter, party,
        salt, taken, sealed_sha256, sealed_size, wrapped_by, wrapped) = 0
);
alter table regions.object add constraint object_moved_check check (
    state <> 'moved' or num_nonnulls(customer, country, customer_key, size, category, sealed_sha256, signatures) = 0
);

create or replace function regions.once_removed() returns trigger
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

-- The erasure of this site, once it has begun: what was erased beside the objects.
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
