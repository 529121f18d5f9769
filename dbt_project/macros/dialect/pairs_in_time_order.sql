{# Walks two lists of moments side by side and pairs those that lie within a window: the CTE `pairs` (first_key, second_key).
   Goes on after the CTE `numbered` (event_key, delivery_id, message_id, act, is_second, occurred_at_us, place in the list). Where two
   lie too far apart, the earlier one has no counterpart: the walk goes on behind it.

   DuckDB recurses, one level a step, over all lists at once. Spark would plan and run a job for every level: there each list
   is one row, and the walk a fold over it. #}
{% macro pairs_in_time_order(window_us) -%}
    {{ return(adapter.dispatch('pairs_in_time_order')(window_us)) }}
{%- endmacro %}

{% macro default__pairs_in_time_order(window_us) -%}
firsts as (
    select * from numbered
    where not is_second
),

seconds as (
    select * from numbered
    where is_second
),

walk as (
    select
        firsts.delivery_id,
        firsts.message_id,
        firsts.act,
        firsts.place as first_place,
        seconds.place as second_place,
        firsts.event_key as first_key,
        seconds.event_key as second_key,
        seconds.occurred_at_us - firsts.occurred_at_us as distance_us
    from firsts
    inner join seconds
        on firsts.delivery_id = seconds.delivery_id
            and firsts.message_id = seconds.message_id
            and firsts.act = seconds.act
    where firsts.place = 1
        and seconds.place = 1
    union all
    select
        walk.delivery_id,
        walk.message_id,
        walk.act,
        firsts.place as first_place,
        seconds.place as second_place,
        firsts.event_key as first_key,
        seconds.event_key as second_key,
        seconds.occurred_at_us - firsts.occurred_at_us as distance_us
    from walk
    inner join firsts
        on walk.delivery_id = firsts.delivery_id
            and walk.message_id = firsts.message_id
            and walk.act = firsts.act
            and walk.first_place + cast(walk.distance_us >= -{{ window_us }} as integer) = firsts.place
    inner join seconds
        on walk.delivery_id = seconds.delivery_id
            and walk.message_id = seconds.message_id
            and walk.act = seconds.act
            and walk.second_place + cast(walk.distance_us <= {{ window_us }} as integer) = seconds.place
),

pairs as (
    select
        first_key,
        second_key
    from walk
    where abs(distance_us) <= {{ window_us }}
)
{%- endmacro %}

{% macro spark__pairs_in_time_order(window_us) -%}
lists as (
    select
        array_sort(collect_list(struct(place, occurred_at_us as us, event_key)) filter (where not is_second)) as firsts,
        array_sort(collect_list(struct(place, occurred_at_us as us, event_key)) filter (where is_second)) as seconds
    from numbered
    group by delivery_id, message_id, act
    having bool_or(is_second) and bool_or(not is_second)
),

walks as (
    select
        aggregate(
            sequence(1, size(firsts) + size(seconds)),
            named_struct(
                'i', 0,
                'j', 0,
                'pairs', cast(array() as array<struct<first_key: string, second_key: string>>)
            ),
            (walk, step) -> case
                when walk.i >= size(firsts) or walk.j >= size(seconds) then walk
                when seconds[walk.j].us - firsts[walk.i].us > {{ window_us }}
                    then named_struct('i', walk.i + 1, 'j', walk.j, 'pairs', walk.pairs)
                when seconds[walk.j].us - firsts[walk.i].us < -{{ window_us }}
                    then named_struct('i', walk.i, 'j', walk.j + 1, 'pairs', walk.pairs)
                else named_struct(
                    'i', walk.i + 1,
                    'j', walk.j + 1,
                    'pairs', array_append(
                        walk.pairs,
                        named_struct(
                            'first_key', firsts[walk.i].event_key, 'second_key', seconds[walk.j].event_key
                        )
                    )
                )
            end
        ).pairs as pairs
    from lists
),

pairs as (
    select
        pair.first_key,
        pair.second_key
    from (select explode(pairs) as pair from walks) as exploded
)
{%- endmacro %}
