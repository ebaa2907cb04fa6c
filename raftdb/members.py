"""The replicated table of members: who they are and where they live; pure."""
