-- As the real project does: nothing that landed behind the list of batches.
select lines.* from {{ source('landed', 'tracking_logs') }} as lines
where lines.batch_id <= (
    select coalesce(max(batches.batch_id), 0)
    from read_parquet('{{ env_var("MTW_LANDED_DIR", "") or env_var("MTW_WAREHOUSE_DIR") ~ "/landed" }}/batches.parquet')
        as batches
)
