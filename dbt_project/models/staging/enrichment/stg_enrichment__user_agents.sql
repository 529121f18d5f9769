select
    user_agent_key,
    user_agent,
    device_class,
    os_name,
    os_version,
    browser_name,
    browser_version,
    mail_client_name,
    mail_client_version,
    crawler_name,
    crawler_list,
    parser_version,
    ingested_at,
    batch_id
from {{ source('landed', 'user_agents') }}
