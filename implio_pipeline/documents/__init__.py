"""Pages for people: HTML that needs no network, no script and no font of ours."""
