"""Public data sets: one TOML file each, where they live, on what terms, and how their files become records."""
