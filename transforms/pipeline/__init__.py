"""What a pipeline of your own is made of: transforms over all stages, asked for as in a job file."""
