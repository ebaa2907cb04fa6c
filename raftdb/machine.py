"""Everything replicated under one applied index: keys, members, sessions; pure."""
