"""The relational catalog: teams, live files and their wrapped keys, requests, tombstones, landings, queues."""
