"""Running a job: to an end, live, or on a cluster; what it resumes from, and what it has stored."""
