"""From records to tables, pictures and reports."""
