"""Points over temperature and pressure: plan, driver, table."""
