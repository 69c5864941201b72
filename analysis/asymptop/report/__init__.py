"""Pages and tables for people: report.html and its sections, scaling, precision, jobs, weights."""
