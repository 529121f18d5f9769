"""The style of what reports.tables writes, and of paper.

Belongs here: CSS of the pages. Does not: the theme (.streamlit/config.toml), or the frame of a mail (hot_clicks).
"""

CSS = """<style>
.mtw-title {font-size:1.9rem;line-height:1.2;margin:0;padding:0;overflow-wrap:anywhere}
.mtw-heading {font-size:1.2rem;margin:1.2rem 0 0;padding:0}
.mtw-above,.mtw-remark,.mtw-footer {color:#4a5866;font-size:.9rem;margin:0;max-width:75ch}
.mtw-message {background:#fff6df;border-left:4px solid #a86400;padding:.8rem 1rem;margin:.5rem 0;overflow-wrap:anywhere}
.mtw-empty {color:#4a5866;margin:.3rem 0}
.mtw-scroll {overflow-x:auto;border:1px solid #d8dfe6;border-radius:6px}
.mtw-scroll:focus-visible {outline:3px solid #0b4f8a}
.mtw-table {border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
.mtw-table caption {text-align:left;font-weight:600;padding:.5rem .75rem;caption-side:top;color:#1c2733}
.mtw-table th,.mtw-table td {border:0;border-top:1px solid #e4e9ee;padding:.35rem .75rem;text-align:left;vertical-align:middle}
.mtw-table thead th {background:#f3f6f9;font-weight:600;vertical-align:bottom;color:#1c2733}
.mtw-table tbody th {font-weight:400;overflow-wrap:break-word;min-width:7rem;max-width:26rem;color:#1c2733}
.mtw-table .mtw-number {text-align:right;white-space:nowrap}
.mtw-table td {overflow-wrap:break-word;max-width:22rem}
.mtw-table .mtw-time,.mtw-table .mtw-barcell {white-space:nowrap}
.mtw-table .mtw-url {overflow-wrap:anywhere;min-width:9rem}
.mtw-table .mtw-barcell {min-width:11rem}
.mtw-bar {display:inline-block;width:calc(100% - 4.6rem);max-width:26rem;height:.8rem;background:#e4e9ee;border-radius:2px;vertical-align:middle}
.mtw-bar > span {display:block;height:100%;background:#0b4f8a;border-radius:2px}
.mtw-bar-value {display:inline-block;width:4.2rem;text-align:right;white-space:nowrap}
.mtw-spark {display:inline-flex;align-items:flex-end;gap:1px;height:1.5rem;width:6.5rem}
.mtw-spark > span {flex:1;background:#0b4f8a}
.mtw-cards,.mtw-facts {display:flex;flex-wrap:wrap;gap:.6rem;margin:.3rem 0 !important;padding:0 !important}
.mtw-cards > div {flex:1 1 8.5rem;border:1px solid #d8dfe6;border-radius:6px;padding:.6rem .8rem;background:#fff}
.mtw-cards dt,.mtw-facts dt {color:#4a5866;font-size:.8rem;font-weight:400}
.mtw-cards dd {margin:0 !important;font-size:1.5rem;font-weight:600;font-variant-numeric:tabular-nums}
.mtw-cards small {display:block;font-size:.8rem;font-weight:400;color:#4a5866}
.mtw-facts {gap:.3rem 1.6rem}
.mtw-facts dd {margin:0 !important;overflow-wrap:anywhere}
[data-testid="stIFrame"] {border:1px solid #d8dfe6;border-radius:6px}
.mtw-footer {border-top:1px solid #d8dfe6;margin-top:2rem;padding-top:.6rem;max-width:none}
[data-testid="stMainBlockContainer"] {padding-top:3.5rem;max-width:84rem}
@media (max-width:640px) {
  [data-testid="stMainBlockContainer"] {padding-left:.8rem;padding-right:.8rem}
  .mtw-title {font-size:1.5rem}
  .mtw-cards > div {flex-basis:40%}
}
@media print {
  [data-testid="stSidebar"],[data-testid="stHeader"],[data-testid="stToolbar"],[data-testid="stElementToolbar"],
  [data-testid="stDownloadButton"],.stButton,.stTextInput,.stNumberInput {display:none !important}
  .mtw-scroll {overflow:visible;border:0}
  .mtw-table {font-size:8pt}
  .mtw-table tr,.mtw-cards > div,[data-testid="stVegaLiteChart"],[data-testid="stIFrame"] {break-inside:avoid}
  .mtw-table thead {display:table-header-group}
  .mtw-bar > span,.mtw-spark > span {print-color-adjust:exact}
  .mtw-heading {break-after:avoid}
}
</style>"""
