"""Which proxy a URL is requested through, and what is exchanged with it until a tunnel is open."""
