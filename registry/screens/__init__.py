"""What managers see of the registry, one module per page. Imported by `registry.admin`, which makes the pages known to the site."""
