"""Which proxy a URL goes through, and what is exchanged with it until a tunnel is open."""
