-- What a site that is left does after its fence is in no inventory: it neither stores nor removes nor holds.
create or replace function regions.stays_fenced() returns trigger
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
