"""The store on disk: exchanges that outgrow memory, a database a partition."""
