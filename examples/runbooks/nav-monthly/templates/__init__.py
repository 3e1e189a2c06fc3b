"""Month-end NAV of a UK property SPV."""
