"""From identities to the client card, and from the card to the CRM."""
