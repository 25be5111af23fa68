"""Who is dead: SWIM, with what Lifeguard adds to it."""
