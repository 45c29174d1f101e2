"""Where speech models lie, how they come here, and which one hears a call. The built-in one lies beside."""
