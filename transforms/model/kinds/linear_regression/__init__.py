"""Linear regression by least squares: `linear_regression` of the job file."""
