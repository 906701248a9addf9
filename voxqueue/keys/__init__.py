"""Who may call: API keys, their scopes, and the tenant that everything belongs to."""
