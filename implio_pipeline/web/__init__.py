"""The Data & Privacy page: server-rendered, without a build step; it works without JavaScript."""
