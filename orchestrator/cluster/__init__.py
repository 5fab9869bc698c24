"""Ray at the edge: the only room, with serve and jobs, that imports it."""
