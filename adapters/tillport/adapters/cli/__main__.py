"""`python -m tillport.adapters.cli` is `tillport`."""

from tillport.adapters.cli import main

if __name__ == "__main__":
    main()
