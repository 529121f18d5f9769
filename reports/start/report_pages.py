"""What the framework starts, and runs again for every interaction.

In a folder of its own, because that becomes the first place where any module is looked for.
"""

from reports.app import main

main()
